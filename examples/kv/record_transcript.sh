#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Records transcript_replies.txt: what redis-cli shows when a real Redis answers
# transcript_commands.txt. Give it the port of one whose data may be deleted:
#
#     redis-server --port 7777 --save "" & ./record_transcript.sh 7777
set -eu
cd "$(dirname "$0")"
redis-cli -p "${1:?usage: record_transcript.sh PORT}" --no-raw \
  < transcript_commands.txt > transcript_replies.txt
