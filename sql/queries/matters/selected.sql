-- Rows of `chain_of_custody` that a matter selects by ids, dates, agents, queues, media, numbers and tags. An empty
-- list is no condition. A number in `$whole` must be the whole number, one in `$ends` may be the end of a number. With
-- `$or_unread`, also recordings of which no document tells agents, queues, numbers or tags; or, if agents or queues are asked
-- for by name (`$agents_by_name`, `$queues_by_name`), nothing the name of one. The caller gives the rows `named_agents`.
WITH asked AS (SELECT unnest($ids::VARCHAR[]) AS id),

with_unnamed_agents AS (
    SELECT conversation_id
    FROM (SELECT conversation_id, unnest(user_ids) AS user_id FROM custody.chain_of_custody)
    ANTI JOIN named_agents USING (user_id)
    WHERE $or_unread
),

candidates AS (
    SELECT *,
        list_transform([ani, dnis], lambda number: ltrim(regexp_replace(
            regexp_replace(regexp_replace(coalesce(number, ''), '[@;].*$', ''), '^[a-zA-Z]+:', ''), '[^0-9]', '', 'g'
        ), '0')) AS called_digits,
        custom_data_state = 'unavailable' OR (
            -- Tags may be known from an earlier load or live capture; numbers, queues and agents are not.
            conversation_sha256 IS NULL AND list_has_any(
                gap_reasons, ['CONVERSATION_FETCH_FAILED', 'CONVERSATION_FORBIDDEN', 'CONVERSATION_NOT_FOUND']
            )
        ) AS is_unread
    FROM custody.chain_of_custody
)

SELECT * EXCLUDE (called_digits)
FROM candidates AS c
WHERE (NOT $by_id OR lower(conversation_id) IN (SELECT id FROM asked) OR lower(recording_id) IN (SELECT id FROM asked))
    -- Where nothing tells the start, a part of the night within the dates is enough.
    AND ($first_moment::TIMESTAMP IS NULL
        OR coalesce(conversation_start >= $first_moment, partition_date + INTERVAL 1 DAY > $first_moment))
    AND ($end_moment::TIMESTAMP IS NULL OR coalesce(conversation_start, partition_date) < $end_moment)
    AND (len($agents::VARCHAR[]) = 0 OR list_has_any(list_transform(user_ids, lambda id: lower(id)), $agents)
        OR ($or_unread AND is_unread AND coalesce(len(user_ids), 0) = 0)  -- a sidecar tells them as well
        OR ($agents_by_name AND conversation_id IN (FROM with_unnamed_agents)))
    AND (len($queues::VARCHAR[]) = 0 OR list_has_any(
        list_transform(
            coalesce(queue_ids, []) || coalesce(queue_names, []), lambda queue: lower(trim(nfc_normalize(queue)))
        ), $queues
    ) OR ($or_unread AND (is_unread OR ($queues_by_name AND len(queue_ids) > len(coalesce(queue_names, []))))))
    -- With `$unknown_kinds`, also recordings whose kind nothing tells (what is missing has no document), or no known word.
    AND (len($media::VARCHAR[]) = 0 OR coalesce(list_contains($media, CASE
        WHEN lower(media_subtype) = 'screen' OR ($unknown_kinds AND starts_with(recording_id, 'screen:')) THEN 'screen'
        WHEN lower(media_type) IN ('audio', 'call', 'callback', 'chat', 'email', 'message', 'messaging', 'screen')
            THEN replace(lower(media_type), 'messaging', 'message')
    END), $unknown_kinds))
    AND (len($whole::VARCHAR[]) + len($ends::VARCHAR[]) = 0 OR ($or_unread AND is_unread)
        OR list_has_any(called_digits, $whole) OR len(list_filter(
            $ends, lambda digits: suffix(called_digits[1], digits) OR suffix(called_digits[2], digits)
        )) > 0)
    AND (($or_unread AND is_unread) OR len(list_filter(
        $tags::STRUCT(pointer VARCHAR, how VARCHAR, wanted VARCHAR)[],
        lambda tag: NOT coalesce(CASE tag.how
            -- An accented letter has two spellings, which look the same.
            WHEN '=' THEN nfc_normalize(json_extract_string(custom_data, tag.pointer)) = nfc_normalize(tag.wanted)
            WHEN '!=' THEN nfc_normalize(json_extract_string(custom_data, tag.pointer)) <> nfc_normalize(tag.wanted)
            WHEN 'is set' THEN json_extract_string(custom_data, tag.pointer) IS NOT NULL
            ELSE json_extract_string(custom_data, tag.pointer) IS NULL
        END, false)
    )) = 0)
