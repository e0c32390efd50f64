// Errors are counted where a test can read them, and shown to the reader: a chart that is missing must not look like no data.
window.scriptErrors = [];
function noteError(text) {
  window.scriptErrors.push(text);
  document.documentElement.dataset.errors = window.scriptErrors.join(" | ");
}
document.documentElement.dataset.errors = "";
window.addEventListener("error", (event) => noteError(event.message));
window.addEventListener("unhandledrejection", (event) => noteError(String(event.reason)));
