"""Architect flows: which mapped tags a flow puts into participant data before its paths end.

A flow's variables are lost with the flow. Only values that `Set Participant Data` (or, in a workflow, `Set Conversation
Data`) wrote are kept with the conversation. `check_flow` reads an exported flow, and reports for each action that ends
a path which mapped tags are surely there, perhaps there, or never there.

Belongs here: reading Architect's YAML, its control flow, the analysis, the report, fetching an export. Does not: tags
in a night's data (sql/staging), the mapping's rules (models/mapping.py).
"""
