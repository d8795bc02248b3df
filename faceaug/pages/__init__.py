"""What the pages of faceaug share: their frame and style sheet, parts such as tables and facts, and plots."""
