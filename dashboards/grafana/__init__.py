"""The code that the dashboards are made of.

    catalog      what the exporter shows, read from docs/metrics.md
    rules        what the rules record, and at which limits they call somebody, read from alerts/
    queries      how expressions are written here, and how they are checked
    panels       the kinds of panels, with what all of one kind have in common
    parts        panels and columns that several dashboards have
    dashboard    what all dashboards have in common: variables, annotations, links, layout
    overview, base, persistence, exporter
                 the four dashboards
"""
