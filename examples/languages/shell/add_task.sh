#!/bin/sh
# Tasks over HTTP with curl: add two, look at one, and delete it.
#
#     $ export QUEBERT_URL=http://localhost:8080 QUEBERT_TOKEN=qbt_...
#     $ sh add_task.sh 4711
set -eu
order=$1
api=${QUEBERT_URL:-http://localhost:8080}/v1
executor=${EXECUTOR_URL:-http://localhost:8000}

# The token comes from standard input: others see the arguments of a program.
# A problem is shown, too, and ends this script.
call() {
    printf 'Authorization: Bearer %s\n' "$QUEBERT_TOKEN" |
        curl --silent --show-error --fail-with-body --max-time 30 --header @- \
            --header 'Content-Type: application/json' "$@"
}

uuid_of() {
    grep -oE '"uuid": *"[^"]+"' | head -n 1 | cut -d '"' -f 4
}

# The key makes it one task, however often this request is made.
task=$(call "$api/tasks" --header "Idempotency-Key: greeting-$order" --data '{
    "url": "'"$executor"'/hello",
    "params": {"name": "Ada"},
    "name": "greeting-'"$order"'"
}') || { echo "$task" >&2; exit 1; }
echo "added $(echo "$task" | uuid_of)"

# One that is not due for a week is there, until it is deleted.
task=$(call "$api/tasks" --data '{
    "url": "'"$executor"'/hello",
    "params": {"name": "Ada, again"},
    "name": "reminder-'"$order"'",
    "delay": 604800
}') || { echo "$task" >&2; exit 1; }
uuid=$(echo "$task" | uuid_of)
call "$api/tasks/$uuid"
echo
call "$api/tasks/$uuid" --request DELETE
echo
