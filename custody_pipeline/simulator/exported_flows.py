"""The organisation's Architect flow, as the YAML export writes it.

One path puts the caller's consent and language into participant data before the transfer; another ends the call with
the consent in a flow variable only, which does not outlive the flow.
"""

from __future__ import annotations

from custody_pipeline.simulator.structure import FLOW_ID, FLOW_NAME

FLOWS = {FLOW_ID: FLOW_NAME}

MAIN_IVR_YAML = """\
inboundCall:
  name: Main IVR
  division: Home
  startUpRef: "/inboundCall/menus/menu[mainMenu]"
  defaultLanguage: en-us
  supportedLanguages:
    en-us:
      defaultLanguageSkill:
        noValue: true
  variables:
    - stringVariable:
        name: Flow.Consent
        initialValue:
          noValue: true
  initialGreeting:
    tts: Calls are recorded.
  tasks:
    - task:
        name: To an agent
        refId: toAgent
        actions:
          - setParticipantData:
              name: Keep consent and language
              attributes:
                - attribute:
                    name:
                      lit: Consent.Recorded
                    value:
                      exp: Flow.Consent
                - attribute:
                    name:
                      lit: Customer Language
                    value:
                      exp: ToString(Call.Language)
          - transferToAcd:
              name: Transfer to Intake
              targetQueue:
                lit:
                  name: Intake
    - task:
        name: Goodbye
        refId: goodbye
        actions:
          - updateData:
              name: Remember consent
              statements:
                - string:
                    variable: Flow.Consent
                    value:
                      lit: "false"
          - disconnect:
              name: Hang up
  menus:
    - menu:
        name: Main Menu
        refId: mainMenu
        audio:
          tts: Press 1 to speak to someone.
        choices:
          - menuTask:
              name: Agent
              dtmf: digit_1
              task:
                name: To an agent
          - menuTask:
              name: Leave
              dtmf: digit_9
              task:
                name: Goodbye
"""
