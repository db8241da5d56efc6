"""One format for all pages: ISO 8601 dates, and times with their time zone."""

DATE_FORMAT = "Y-m-d"
DATETIME_FORMAT = "Y-m-d H:i:s e"
