"""One conversation, computed from the organisation's seed and the conversation's index, with its planted faults.

Belongs here: what is drawn, in which order. Does not: which conversations a night has (organization.py).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import orjson

from custody_pipeline.simulator import faults
from custody_pipeline.simulator.calls import Conversation, Participant, Recording, Session
from custody_pipeline.simulator.identity import Draws, number, uuid_for
from custody_pipeline.simulator.structure import (
    DIVISIONS,
    FLOW_NAME,
    OTHER_REGION,
    QUEUES,
    REGION,
    RESTRICTED_DIVISION,
    SCRIPT_CLAIMS,
    SCRIPT_INTAKE,
    SCRIPT_WITHDRAWN,
    Queue,
)

if TYPE_CHECKING:
    from custody_pipeline.simulator.organization import Organization

_INTAKE, _LITIGATION, _CLAIMS, _SERVICE = QUEUES
_MATTER_QUEUES = frozenset({_LITIGATION.name, _CLAIMS.name})

AGENTS = tuple((uuid_for("agent", place), name) for place, name in enumerate((
    "Ada Okafor", "Bruno Keller", "Chiara Rossi", "Dmitri Volkov", "Élodie Martin", "Farid Haddad",
    "Grace Kim", "Hana Suzuki", "Iván García", "Jörg Müller", "Kemi Adeyemi", "Liam O'Brien",
)))  # fmt: skip

_LANGUAGES = ("en-US", "de-DE", "fr-FR", "es-MX", "日本語")
_DISPOSITIONS = ("Resolved", "Escalated", "Callback", "Voicemail left", "No contact", "Transfer: 2nd line 🙂", "")
_WRAP_UPS = ("Default Wrap-up Code", "Sale", "Complaint", "Follow-up")

# Texts that careless programs change: leading zeros, formulas, JSON words, quotes, line ends.
_AWKWARD = ("007", "1.10", "null", "true", "=SUM(1;2)", '"quoted", with, commas', "line one\nline two", "-1", "@home")

_SENTENCES = (
    "Caller asks about the state of the claim.",
    "Identity confirmed with two questions.",
    "Documents were sent by post on the third.",
    "Der Anrufer wünscht einen Rückruf.",
    "Le dossier est complet, rien à ajouter.",
    "Agreed to call back within two working days.",
    "Refers to the accident report; photos follow by mail.",
)

# kind of call → number of recordings.
RECORDINGS_OF = {"simple": 1, "transfer": 2, "consult": 2, "screen": 2, "transfer+screen": 3}

# Faults that are gone two days after the night.
_PASSING = frozenset({"EXPORT_PENDING", "CONVERSATION_FETCH_FAILED"})
PASSES_AFTER = timedelta(days=2)
_KEY_VARIANTS = ("LegalHold", "legal_hold", "LEGAL HOLD")

_UNMAPPED = (
    ("Survey Opt-In", "yes"),
    ("legal_hold", "false"),
    ("custom_data_legal_hold", "true"),
    ("promo 🎁", "ÄÖÜ 🙂"),
    ('he said "a.b"\nthen', "x"),
    ("deep", '{"a":{"b":[1,{"c":"007"}]}}'),
)


def _ms(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class ConversationBuilder:
    """Builds one conversation of a night."""

    def __init__(self, organization: Organization, index: int):
        self.organization = organization
        self.index = index
        self.draws = Draws(number("conversation", organization.seed, organization.night, index))
        self.start = organization.start_of(index)
        planted = organization.planting.all_of(index)
        self.faults = {fault: form for fault, form in planted.items() if not self._healed(fault)}
        self.exported_late = "EXPORT_PENDING" in planted.keys() - self.faults.keys()
        self.kind = self._kind(self.draws.between(0, 99))
        self.queue = self._queue(self.draws.between(0, 99))
        self.end = self.start + timedelta(milliseconds=self._duration_ms())
        self._issued = 0

    def build(self) -> Conversation:
        """The conversation as it stands at the organisation's `now`."""
        draws = self.draws
        self.answered = self.start + timedelta(seconds=draws.between(20, 40))
        self.handover = _ms(self.start + (self.end - self.start) * 0.55)
        division = next(item for item in DIVISIONS if item.id == self.queue.division_id)
        conversation = Conversation(
            id=self.organization.conversation_id(self.index),
            index=self.index,
            start=self.start,
            end=self.end,
            kind=self.kind,
            queue=self.queue,
            division=RESTRICTED_DIVISION if "CONVERSATION_FORBIDDEN" in self.faults else division,
            ani=f"+1555{draws.between(2000000, 9999999)}",
            dnis="+15550100",
            edge_id=uuid_for("edge", draws.between(1, 3)),
            faults=self.faults,
            participants=self._participants(),
            recordings=[],
            vanishing="REQUIRED_TAG_MISSING" in self.faults and self.index == self.organization.vanishing_index,
        )
        self._add_recordings(conversation)
        self._add_tags(conversation)
        return conversation

    def _healed(self, fault: str) -> bool:
        if fault == "NOT_YET_AVAILABLE":
            return self.start < self.organization.watermark
        if fault == "EXPORT_EXCLUDED_SENSITIVE":
            return any(job.include_sensitive for job in self.organization.export_jobs)
        return fault in _PASSING and self.organization.clock >= self.organization.opening + PASSES_AFTER

    def _kind(self, roll: int) -> str:
        if "TAG_CONFLICT" in self.faults:
            return "transfer"
        if "RECORDING_ARCHIVED" in self.faults:
            return "simple"
        for below, kind in ((60, "simple"), (78, "transfer"), (86, "consult"), (94, "screen")):
            if roll < below:
                return kind
        return "transfer+screen"

    def _queue(self, roll: int) -> Queue:
        if self.faults.get("REQUIRED_TAG_MISSING") == 3:
            return _LITIGATION
        for below, queue in ((40, _INTAKE), (55, _LITIGATION), (80, _CLAIMS)):
            if roll < below:
                return queue
        return _SERVICE

    def _duration_ms(self) -> int:
        low, high = (1_500_000, 7_000_000) if self.draws.chance(0.01) else (90_000, 1_500_000)
        return self.draws.between(low, high)

    def _id(self, what: str) -> str:
        self._issued += 1
        return uuid_for(what, self.organization.seed, self.organization.night, self.index, self._issued)

    # Participants

    def _participants(self) -> list[Participant]:
        in_ivr = self.start + timedelta(seconds=12)
        transfer, consult, screen = "transfer" in self.kind, self.kind == "consult", "screen" in self.kind
        first_ends = self.handover if transfer else self.end
        customer_legs = [Session(self._id("s"), None, self.start, first_ends, recording=True)]
        if transfer:
            customer_legs.append(Session(self._id("s"), None, self.handover, self.end, recording=True))
        if "RECORDING_NOT_FOUND" in self.faults:
            customer_legs.append(Session(self._id("s"), None, self.answered, self.end, recording=True))
        customer = Participant(self._id("p"), "customer", "Customer", self.start, self.end, customer_legs)
        ivr_leg = Session(self._id("s"), customer_legs[0].id, self.start, in_ivr, in_flow=True)
        ivr = Participant(self._id("p"), "ivr", FLOW_NAME, self.start, in_ivr, [ivr_leg])
        people = [customer, ivr, self._acd(in_ivr, self.answered, customer_legs[0])]
        people.append(self._agent(self.answered, first_ends, customer_legs[0], screen=screen))
        if transfer:
            people.append(self._acd(self.handover, self.handover, customer_legs[1]))
            people.append(self._agent(self.handover, self.end, customer_legs[1]))
        if consult:
            consult_ends = self.handover + (self.end - self.handover) / 2
            people.append(self._agent(self.handover, _ms(consult_ends), customer_legs[0], recording=True))
        return people

    def _acd(self, start: datetime, end: datetime, customer: Session) -> Participant:
        leg = Session(self._id("s"), customer.id, start, end)
        return Participant(self._id("p"), "acd", self.queue.name, start, end, [leg], queue=self.queue)

    def _agent(
        self, start: datetime, end: datetime, customer: Session, *, screen: bool = False, recording: bool = False
    ) -> Participant:
        user_id, name = AGENTS[(self.index + self._issued) % len(AGENTS)]
        legs = [Session(self._id("s"), customer.id, start, end, recording=recording, script_id=self._script())]
        if screen:
            legs.append(Session(self._id("s"), None, start, end, "screenshare", recording=True))
        wrap_up = self.draws.pick(_WRAP_UPS)
        return Participant(self._id("p"), "agent", name, start, end, legs, user_id, self.queue, wrap_up)

    def _script(self) -> str | None:
        if "SCRIPT_VERSION_UNKNOWN" in self.faults:
            return SCRIPT_WITHDRAWN
        if "SCRIPT_VERSION_INCOMPATIBLE" in self.faults:
            return SCRIPT_CLAIMS
        return None if self.draws.chance(0.15) else SCRIPT_INTAKE

    # Recordings

    def _add_recordings(self, conversation: Conversation) -> None:
        extension = "wav" if self.draws.chance(0.3) else "opus"
        recorded = [(person, leg) for person in conversation.participants for leg in person.sessions if leg.recording]
        if "RECORDING_NOT_FOUND" in self.faults:
            lost = conversation.participant("customer").sessions[-1]
            conversation.unrecorded_session_id = lost.id
            recorded = [(person, leg) for person, leg in recorded if leg is not lost]
        agents = tuple(agent.user_id or "" for agent in conversation.agents)
        for place, (person, leg) in enumerate(recorded):
            screen = leg.media_type == "screenshare"
            subtype = "Screen" if screen else "Consult" if person.purpose == "agent" else "Trunk"
            conversation.recordings.append(
                Recording(
                    id=self._id("recording"),
                    number=place,
                    session_id=leg.id,
                    user_ids=(person.user_id,) if person.user_id else agents[place : place + 1] or agents[:1],
                    media="screen" if screen else "audio",
                    subtype=subtype,
                    start=leg.start + timedelta(milliseconds=self.draws.between(100, 900)),
                    end=leg.end,
                    extension="webm" if screen else extension,
                    region=self.organization.region,
                )
            )
        if "ORPHAN_OBJECT" in self.faults:
            stray_id = self._id("recording")
            stray = replace(conversation.recordings[0], id=stray_id, number=len(recorded), in_metadata=False)
            conversation.recordings.append(stray)
        if "ORPHAN_RECORDING" in self.faults:
            conversation.orphan_recording_id = self._id("recording")
        self._stamp_exports(conversation.recordings)
        if self.exported_late:
            conversation.recordings[0].exported_date = self.organization.opening + PASSES_AFTER
        if self.faults.keys() & faults.OF_ONE_RECORDING:
            self._spoil_recording(conversation.recordings[0])

    def _stamp_exports(self, recordings: list[Recording]) -> None:
        jobs = (job for job in self.organization.export_jobs if job.selects(self.start, self.end))
        job = next(jobs, None)
        # Drawn with or without a job, so that the same tags follow at every moment.
        delays = [timedelta(minutes=8, milliseconds=self.draws.between(0, 600_000)) for _ in recordings]
        if job is None:
            return
        for item, delay in zip(recordings, delays, strict=True):
            stamped = job.requested_at + delay
            item.export_date = job.requested_at
            item.exported_date = stamped if stamped <= self.organization.clock or job.on_request else None

    def _spoil_recording(self, item: Recording) -> None:
        item.faults = {fault: form for fault, form in self.faults.items() if fault in faults.OF_ONE_RECORDING}
        next_day = self.organization.opening + timedelta(days=1)
        never = {"EXPORT_FAILED", "EXPORT_EXCLUDED_SENSITIVE", "RECORDING_ARCHIVED", "RECORDING_DELETED"}
        if item.faults.keys() & never:
            item.export_date = item.exported_date = None
        if "EXPORT_PENDING" in item.faults:
            item.exported_date = None
        if "RECORDING_ARCHIVED" in item.faults:
            item.file_state, item.archive_date, item.session_id = "ARCHIVED", next_day, None
        if "RECORDING_DELETED" in item.faults:
            item.file_state, item.delete_date = "DELETED", next_day
        if "REGION_MISMATCH" in item.faults:
            item.region = OTHER_REGION if self.organization.region != OTHER_REGION else REGION

    # Tags

    def _add_tags(self, conversation: Conversation) -> None:
        draws = self.draws
        agent = conversation.agents[0]
        customer, ivr = conversation.participant("customer"), conversation.participant("ivr")
        holder = agent if draws.chance(0.8) else customer
        holder.attributes["Legal-Hold"] = "true" if draws.chance(0.2) else "false"
        if self.queue.name in _MATTER_QUEUES:
            matter = draws.pick(_AWKWARD[:2]) if draws.chance(0.05) else f"M-2026-{draws.between(1, 99999):05d}"
            (agent if draws.chance(0.9) else customer).attributes["Matter-Number"] = matter
        draws.pick((ivr, ivr, ivr, ivr, customer, agent)).attributes["Consent.Recorded"] = "true"
        draws.pick((ivr, customer)).attributes["Customer Language"] = draws.pick(_LANGUAGES)
        agent.attributes["Disposition"] = draws.pick(_AWKWARD if draws.chance(0.06) else _DISPOSITIONS)
        if draws.chance(0.7):
            case = {"id": f"C-{draws.between(1, 9999)}", "jurisdiction": draws.pick(("DE", "FR", "US"))}
            agent.attributes["Case_JSON"] = orjson.dumps({"case": case}).decode()
        if draws.chance(0.3):
            agent.attributes["Callback-Number"] = conversation.ani
        if draws.chance(0.6):
            agent.attributes["Summary"] = self._summary(draws)
        self._spoil_tags(conversation, agent, holder)
        for person in conversation.participants:
            if not person.bulk_attributes:
                person.bulk_attributes = dict(person.attributes)
        self._spoil_bulk_tags(conversation, agent, holder)
        if not self.faults and self.index % 3 == 0:
            conversation.typed_attributes = {"Disposition": agent.attributes["Disposition"]}

    def _summary(self, draws: Draws) -> str:
        if draws.chance(0.05):
            return self._long_text(draws.pick((1023, 1024, 1025, 1500, 6000)))
        if draws.chance(0.05):
            return draws.pick(_AWKWARD)
        return " ".join(draws.pick(_SENTENCES) for _ in range(draws.between(1, 5)))

    @staticmethod
    def _long_text(length: int) -> str:
        text = " ".join(_SENTENCES) + " "
        return (text * (length // len(text) + 1))[:length]

    def _spoil_tags(self, conversation: Conversation, agent: Participant, holder: Participant) -> None:
        """Faults of the conversation as it stands."""
        if "TAG_TRUNCATED" in self.faults:
            # The emoji is one character and two UTF-16 units, which are what the job counts.
            agent.attributes["Summary"] = f"\U0001f4de {self._long_text(2500)}"
        if "TAGS_ON_OTHER_PARTICIPANT" in self.faults:
            purpose = ("acd", "ivr")[self.faults["TAGS_ON_OTHER_PARTICIPANT"]]
            conversation.participant(purpose).attributes["Legal-Hold"] = holder.attributes.pop("Legal-Hold")
        if "TAG_KEY_VARIANT" in self.faults:
            holder.attributes[_KEY_VARIANTS[self.faults["TAG_KEY_VARIANT"]]] = holder.attributes.pop("Legal-Hold")
        if "TAG_CONFLICT" in self.faults:
            agent.attributes["Disposition"] = "Resolved"
            conversation.agents[1].attributes["Disposition"] = "Escalated"
        if "TAG_CHANGED_LATER" in self.faults:
            agent.attributes |= {"Disposition": "Resolved after review", "Summary": self._long_text(1500)}
        if "TAG_NEVER_SET" in self.faults:
            for person in conversation.participants:
                person.attributes.clear()
        if "REQUIRED_TAG_MISSING" in self.faults:
            self._lose_required_tag(conversation)
        if "UNMAPPED_TAG" in self.faults:
            key, value = _UNMAPPED[self.faults["UNMAPPED_TAG"]]
            agent.attributes[key] = value

    def _lose_required_tag(self, conversation: Conversation) -> None:
        key = ("Legal-Hold", "Legal-Hold", "Consent.Recorded", "Matter-Number")[self.faults["REQUIRED_TAG_MISSING"]]
        for person in conversation.participants:
            if person.attributes.pop(key, None) is not None and conversation.vanishing:
                person.vanished_attributes[key] = "true"

    def _spoil_bulk_tags(self, conversation: Conversation, agent: Participant, holder: Participant) -> None:
        """Faults of the bulk details job: tags that it lacks, or has with other values than the conversation."""
        if self.faults.get("TAGS_SET_AFTER_END") == 0:
            del holder.bulk_attributes["Legal-Hold"]
        elif "TAGS_SET_AFTER_END" in self.faults:
            for person in conversation.participants:
                person.bulk_attributes = {}
        if "TAG_CHANGED_LATER" in self.faults:
            agent.bulk_attributes["Disposition"] = "Escalated"
