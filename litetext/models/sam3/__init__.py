"""SAM3 for images and videos, and a tiny one."""
