-- Number of a conversation's recorded screens: by the flags of its participants, or of its sessions, whichever is more.
CREATE OR REPLACE TEMP MACRO flagged_screens(sessions, screen_recorded) AS
    greatest(
        len(list_filter(sessions, lambda s: s.recording AND lower(s.media_type) = 'screenshare')),
        coalesce(len(screen_recorded), 0)
    )
