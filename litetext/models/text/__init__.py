"""Text encoders: the teacher, students, and other models' towers."""
