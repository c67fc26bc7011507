// Package finxtest is the finX API as a simulator: an http.Handler that answers
// like the real host, with the widget page a person goes through in the browser,
// one-use codes, rotating refresh tokens, account histories generated from a
// seed, rate limits, and faults that can be switched on while it runs.
//
// Unit tests run it in-process with Start; cmd/finx-sandbox puts it on a port.
// Both have the same controls: the methods of Sandbox, and the JSON endpoints
// below /_sandbox/.
//
// # What it is faithful to
//
// Paths, fields, error shapes and defaults follow Qwist's public documents,
// Postman collections and SDKs. Where these contradict each other (cancel or
// abort, OAuth or finX error shape, 429 or 503, rotation with or without grace)
// the behaviour is a switch in Options. Where nothing is documented the nearest
// standard decides: RFC 6749 for the token endpoint, RFC 6750 for bearer
// answers, RFC 7009 for revocation.
//
// # What it does not do
//
// The iframe mode of the widget, the direct (widget-less) access API, webhooks,
// securities, standing orders and payments are not simulated. Query parameters
// of the transaction list that would need a search over the history (filter,
// amounts, categories …) are refused with code 1000 and not silently ignored.
// sync_period is validated but does not shorten the history.
//
// # Controls
//
//	POST   /_sandbox/approve  {"location", "action": "approve|cancel|fail", "bank"}   → {"redirect"}
//	POST   /_sandbox/users    {"user_id", "accounts", "transactions", "pending", …}   as User
//	POST   /_sandbox/grow     {"user_id", "account": 0, "transactions": 5}            as Grow
//	POST   /_sandbox/revoke   {"user_id"}                                             as RevokeUser
//	POST   /_sandbox/faults   {"call", "nth", "every", "probability", "times", …}     as Fault → {"id"}
//	GET    /_sandbox/faults                                                           → {"faults": […]}
//	DELETE /_sandbox/faults
//	GET    /_sandbox/stats                                                            → Stats
//	POST   /_sandbox/clock    {"advance": "90d"}                                      → {"now", "offset"}
//	GET    /_sandbox/clock
//	POST   /_sandbox/reset
//
// # Call names
//
// Faults and Stats name calls: access, sync, token.exchange, token.refresh,
// token.other, revoke, accounts, account, balance, transactions, transaction,
// categories, version, other.
package finxtest
