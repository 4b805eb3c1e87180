"""Pictures and pages of results: they take arrays, never estimators."""
