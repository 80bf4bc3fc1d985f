"""Results kept a day each, so that there is a trend between audits."""

from compliance.daily.results import DailyResults, Kept, Turned, results_of, turned

__all__ = ["DailyResults", "Kept", "Turned", "results_of", "turned"]
