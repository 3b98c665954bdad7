/**
 * What the API tells, as types. All times are seconds since the epoch, and null is what
 * nobody knows. docs/web.rst describes each field.
 *
 * @typedef {object} Queue
 * @property {string} name
 * @property {boolean|null} exists
 * @property {number|null} ready
 * @property {number|null} delayed
 * @property {number|null} running
 * @property {number|null} retrying
 * @property {number|null} dead
 * @property {number|null} consumers
 * @property {boolean|null} paused
 * @property {number|null} rate_in
 * @property {number|null} rate_out
 * @property {number|null} oldest
 * @property {number|null} p50
 * @property {number|null} p99
 * @property {{in: number[], out: number[]}} series
 * @property {string[]} breakers
 * @property {string[]} problems
 *
 * @typedef {object} Latency
 * @property {number[]} buckets
 * @property {{at: number, counts: number[]}[]} columns
 *
 * @typedef {object} Due
 * @property {number} at
 * @property {number} count
 *
 * @typedef {Queue & {latency: Latency, due: Due[], attempts: Attempt[]}} QueueDetail
 *
 * @typedef {object} Attempt
 * @property {string} uuid
 * @property {string} queue
 * @property {string} url
 * @property {number} number
 * @property {number|null} added
 * @property {number|null} due
 * @property {number} started
 * @property {number} ended
 * @property {number|null} status
 * @property {string} outcome
 * @property {string} reason
 * @property {string} answer
 * @property {number|null} retry_at
 * @property {string} mediator
 *
 * @typedef {object} Task
 * @property {string} uuid
 * @property {string} queue
 * @property {string} url
 * @property {string} state
 * @property {number|null} added
 * @property {number|null} due
 * @property {number} attempts
 * @property {Attempt|null} last
 * @property {number|null} retry_at
 *
 * @typedef {object} Gap
 * @property {string} mediator
 * @property {number|null} from
 * @property {number|null} to
 * @property {number|null} count
 *
 * @typedef {Omit<Task, "attempts"> & {attempts: Attempt[], gaps: Gap[]}} TaskDetail
 *
 * @typedef {object} Why
 * @property {string} reason
 * @property {string} text
 * @property {number|null} until
 * @property {number|null} position
 * @property {number|null} rate
 * @property {string|null} by
 *
 * @typedef {Why & {all: Why[]}} WhyAnswer
 *
 * @typedef {object} Dead
 * @property {string} uuid
 * @property {string} url
 * @property {string} kind
 * @property {string} reason
 * @property {number|null} attempts
 * @property {number|null} first
 * @property {number|null} last
 * @property {number|string|null} status
 * @property {string} answer
 *
 * @typedef {object} DeadGroup
 * @property {string} kind
 * @property {string} reason
 * @property {number} count
 *
 * @typedef {object} DeadPage
 * @property {Dead[]} dead
 * @property {DeadGroup[]} groups
 * @property {number|null} count
 * @property {string|null} next_page_token
 *
 * @typedef {object} Host
 * @property {string} origin
 * @property {string} breaker
 * @property {number|null} open_until
 * @property {number|null} limit
 * @property {number} in_flight
 * @property {number|null} rate
 * @property {number} mediators
 *
 * @typedef {object} WatchState
 * @property {boolean} consuming
 * @property {boolean} paused
 * @property {number} prefetch
 * @property {number} in_flight
 * @property {number} held
 * @property {number} done
 * @property {number} retried
 * @property {number} discarded
 * @property {number} buried
 * @property {string} priority
 * @property {number|null} rate
 *
 * @typedef {object} Mediator
 * @property {string} name
 * @property {string} host
 * @property {number} pid
 * @property {string} version
 * @property {number} started
 * @property {number} at
 * @property {number} lag
 * @property {number|null} cpu
 * @property {number} memory
 * @property {number} reconnects
 * @property {number} unconfirmed
 * @property {Record<string, WatchState>} queues
 * @property {Record<string, string>} settings
 * @property {boolean} lost
 *
 * @typedef {object} HistoryState
 * @property {boolean} ok
 * @property {string} problem
 * @property {number|null} behind
 * @property {number} gaps
 * @property {number} dropped
 *
 * @typedef {object} Overview
 * @property {number} at
 * @property {Queue[]} queues
 * @property {Host[]} hosts
 * @property {Mediator[]} mediators
 * @property {string[]} problems
 * @property {HistoryState} history
 * @property {boolean} may_operate
 *
 * @typedef {object} Operation
 * @property {string} operation
 * @property {boolean} done
 * @property {number|null} count
 * @property {number|null} total
 * @property {string} problem
 *
 * @typedef {object} TaskFilter
 * @property {string} [q]
 * @property {string} [queue]
 * @property {string} [url]
 * @property {string} [status]
 * @property {string} [outcome]
 * @property {string} [reason]
 * @property {string} [after]
 * @property {string} [before]
 *
 * @typedef {object} View
 * @property {string} title
 * @property {HTMLElement} element
 * @property {string} [queue] attempts of this queue alone are wanted
 * @property {(state: import("./store.js").State) => void} [update]
 * @property {() => void} [close]
 * @property {() => void} [redraw] the colours have changed
 * @property {Record<string, () => void>} [keys] what keys do here
 * @property {string} [parent] the address that Esc leads to
 *
 * @typedef {object} Context
 * @property {import("./api.js").Api} api
 * @property {() => import("./store.js").State} state
 * @property {() => number} now the server's time
 * @property {(address: string) => void} go
 * @property {(address: string) => void} replace the address of this view, without leaving it
 * @property {(text: string) => void} tell
 * @property {(error: unknown) => void} fail
 * @property {(question: import("./dialogs.js").Question) => Promise<boolean>} confirm
 * @property {() => Promise<boolean>} permitted whether there may be changes; asks for a token
 * @property {AbortSignal} signal ends with the view
 */
export {};
