"""Text encoders and segmenters in plain torch."""
