"""The faces of a report: samples, the real faces beside them, their thumbnails in sheets, and the script of data."""
