-- Number of the sessions of a conversation that are flagged as recorded, but for those of screens.
CREATE OR REPLACE TEMP MACRO flagged_calls(sessions) AS
    len(list_filter(sessions, lambda s: s.recording AND lower(s.media_type) IS DISTINCT FROM 'screenshare'))
