"""The report: from finished runs to one HTML file that opens offline. Runs are read, drawn and
written; nothing is trained."""
