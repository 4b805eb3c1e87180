"""The report as one HTML page: contents, verdict, figures."""
