-- Requests for deletion that name a person of a conversation, each from the newest load that has it. A request that is
-- missing in a later list was made nevertheless.
--
-- grain: partition_date, conversation_id, request_id
-- column partition_date: UTC day of the conversation's start
-- column conversation_id: conversation that the vendor no longer has
-- column request_id: request
-- column request_status: INITIATED, SEARCHING, UPDATING, DELETING, FINALIZING, COMPLETED or ERROR; upper case
-- column created_date: when the request was submitted (UTC)
-- column matched_by: fields of the request's subject that name somebody of the conversation
-- column evidence: the document with the request's digest, as first received, as evidence
WITH received AS (
    SELECT d.*, r."sequence"
    FROM raw.gdpr_requests AS d
    INNER JOIN staging.receipts AS r USING (partition_date, landing_id)
    WHERE r.is_usable AND d.document_state = 'ok'
),

newest AS (
    SELECT *
    FROM received
    QUALIFY row_number() OVER (
        PARTITION BY partition_date, conversation_id, request_id ORDER BY "sequence" DESC, landing_id DESC
    ) = 1
),

first_seen AS (
    SELECT partition_date, document_sha256, min(("sequence", fetched_at, document_uri)) AS seen
    FROM received
    GROUP BY partition_date, document_sha256
)

SELECT
    n.partition_date,
    n.conversation_id,
    n.request_id,
    upper(n.request_status) AS request_status,
    n.created_date,
    n.matched_by,
    {
        'uri': f.seen[3],
        'sha256': n.document_sha256,
        'what': 'gdpr_requests document: request ' || n.request_id,
        'observed_at': f.seen[2]
    } AS evidence
FROM newest AS n
INNER JOIN first_seen AS f USING (partition_date, document_sha256)
