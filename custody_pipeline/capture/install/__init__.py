"""Definitions to import into an organisation, a ServiceNow instance and an AWS account.

Belongs here: the files. Does not: code (`capture.installation` renders and applies them).
"""
