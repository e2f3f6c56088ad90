"""From the folders of runs to tables and pages: statistics, published numbers beside ours, one HTML file."""
