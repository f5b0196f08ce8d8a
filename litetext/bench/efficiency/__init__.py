"""Text encoders side by side: parameters, memory, operations, prompts per second."""
