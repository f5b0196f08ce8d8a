"""What annotation and predictions files of SA-Co, COCO and VEval hold, checked before anything is counted with it."""
