"""The student: a small decision transformer distilled from the teacher's stored predictions."""
