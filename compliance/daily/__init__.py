"""Results kept a day each, so that there is a trend between audits."""

from compliance.daily.results import DIRECTORY, DailyResults, Kept, Turned, results_of, turned

__all__ = ["DIRECTORY", "DailyResults", "Kept", "Turned", "results_of", "turned"]
