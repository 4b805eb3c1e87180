"""The report as one page of HTML: its contents, its verdict, its figures."""
