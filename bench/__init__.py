"""The program: command line, plan, experiment, trainer, launchers, records, tables and page."""
