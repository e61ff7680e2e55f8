"""The process: log, intake, API, metrics, life cycle and command line."""
