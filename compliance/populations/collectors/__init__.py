"""What makes rows of records, a module for each subject."""
