"""From records to tables: grouping, statistics, columns, footers, and the published numbers beside ours."""
