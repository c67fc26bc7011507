package promcheck

// Dashboards returns the pages of deploy/grafana by file name.
func Dashboards() map[string]Dashboard {
	return map[string]Dashboard{
		"overview.json": overview(),
		"lanes.json":    lanes(),
		"calls.json":    calls(),
		"custody.json":  custody(),
	}
}

func overview() Dashboard {
	return page(
		"overview", "Overview", "One screen at three at night: is it working, what is stuck, what is about to be lost. Each red field has an alert with a runbook.",
		row("Is it working?"),
		stat(4, "Replicas that take no work", "Replicas whose /readyz is 503. The field beside this one says which dependency it is.", "short", limits(1, 1),
			ask{`count(finx_connector_ready{#}) - sum(finx_connector_ready{#})`, ""}),
		lamp(20, "Dependencies, the worst replica of each", "What /readyz says, as of 15 seconds ago. The answer of /readyz says why.", "ready", "not ready",
			ask{`1 - min by (dependency) (finx_connector_dependency_ready{#})`, "{{dependency}}"}),
		lamp(6, "Servers left alone", "A breaker is open: the server is away or asked to be left alone. Lanes take nothing meanwhile, and nothing is lost.", "works", "left alone",
			ask{`max by (server) (finx_connector_guard_open{#})`, "{{server}}"}),
		stat(3, "Client refused", "Replicas to which finX refuses FINX_CLIENT_ID and its secret.", "short", limits(1, 1), ask{`sum(finx_connector_finx_client_refused{#})`, ""}),
		stat(3, "Since the last fetch", "Time since any replica completed a fetch.", "s", limits(6*3600, 12*3600), ask{`time() - max(finx_connector_flow_fetch_completed_timestamp_seconds{#} > 0)`, ""}),
		stat(3, "Established", "Established connections, as of the last walk over all of them, every 6 hours.", "short", calm(), ask{`finx_connector:connections:last_walk{#, state="established"}`, ""}),
		stat(3, "Replicas", "Replicas that are scraped.", "short", calm(), ask{`count(finx_connector_build_info{#})`, ""}),
		stat(3, "Panics, 24 h", "Mistakes of the program that an event brought out.", "short", limits(1, 5),
			ask{`sum(increase(finx_connector_consumer_panics_total{#}[24h])) + sum(increase(finx_connector_flow_panics_total{#}[24h]))`, ""}),
		stat(3, "Hung handlers", "Handlers that did not return when their time was over. Each keeps its slot.", "short", limits(1, 4), ask{`sum(finx_connector_consumer_hung_handlers{#})`, ""}),

		row("What is about to be lost?"),
		stat(4, "Oldest callback", "Age of the oldest callback that nobody has settled. Codes die at 60 minutes.", "s", limits(600, 1800),
			ask{`max(finx_connector_consumer_oldest_unsettled_seconds{#, lane="callbacks"})`, ""}),
		stat(4, "Tokens in memory only", "Tokens that are in one process and nowhere else. Do not stop it.", "short", limits(1, 1), ask{`sum(finx_connector_custody_unstored_memory_only{#})`, ""}),
		stat(4, "Answers in escrow", "Sealed answers of finX that Vault has not taken.", "short", limits(1, 1), ask{`max(finx_connector_custody_escrow_waiting{#})`, ""}),
		stat(4, "Refresh tokens, 14 days or less", "Tokens that should have been rotated long ago, as of the last walk.", "short", limits(1, 1),
			ask{`sum(finx_connector:connections_refresh_tokens:last_walk{#, within=~"1d|3d|7d|14d"})`, ""}),
		stat(4, "Tokens lost, 24 h", "Token calls whose answer was lost for good. Each is a user who goes to the bank again.", "short", limits(1, 1),
			ask{`sum(increase(finx_connector_custody_spends_total{#, outcome="unknown"}[24h]))`, ""}),
		stat(4, "Dead letters", "Dead letters that nobody has redriven or discarded.", "short", limits(1, 100), ask{`max(finx_connector_consumer_dead_letters_stored{#})`, ""}),

		row("What is stuck?"),
		graph(8, "Events that wait, by lane", "Messages that no replica has taken. A backlog that only grows needs replicas or a higher rate at finX.", "short",
			ask{`max by (lane) (finx_connector_consumer_waiting_messages{#})`, "{{lane}}"}),
		graph(8, "Settled a second, by lane", "Events brought to their end.", "ops",
			ask{`sum by (lane) (rate(finx_connector_consumer_settled_total{#, outcome=~"done|dead_letter"}[$__rate_interval]))`, "{{lane}}"}),
		stacked(graph(8, "Dead letters stored, by class", "malformed, rejected, unknown_state and oversize come from what was sent; exhausted and outage can be redriven; expired is lost.", "short",
			ask{`sum by (class) (increase(finx_connector_consumer_dead_letters_total{#}[$__rate_interval]))`, "{{class}}"})),
		stacked(graph(8, "Tries to fetch, by outcome", "retried ones come back; downstream was told of failed, given_up and access_ended.", "ops",
			ask{`sum by (outcome) (rate(finx_connector_flow_fetches_total{#}[$__rate_interval]))`, "{{outcome}}"})),
		stacked(graph(8, "Calls to finX a second, by verdict", "done; retry; wait_until when finX throttles; give_up when it refuses.", "ops",
			ask{`sum by (verdict) (rate(finx_connector_finx_call_duration_seconds_count{#}[$__rate_interval]))`, "{{verdict}}"})),
		stacked(graph(8, "Events published a second, by outcome", "stored, duplicate, or why they were given back.", "ops",
			ask{`sum by (outcome) (rate(finx_connector_publisher_events_total{#}[$__rate_interval])) > 0`, "{{outcome}}"})),
	)
}

func lanes() Dashboard {
	return page(
		"lanes", "Lanes", "What comes in, how long it waits, what becomes of it.",
		row("Backlog, of all replicas"),
		graph(8, "Waiting", "Messages that no replica has taken, parked ones not included.", "short", ask{`max by (lane) (finx_connector_consumer_waiting_messages{#})`, "{{lane}}"}),
		graph(8, "Taken and not settled", "Messages that some replica works on, or that come back after a delay.", "short", ask{`max by (lane) (finx_connector_consumer_unsettled_messages{#})`, "{{lane}}"}),
		lined(graph(8, "Oldest that is not settled", "Age of the oldest message, taken or not. Of a callback, 60 minutes are the end.", "s",
			ask{`max by (lane) (finx_connector_consumer_oldest_unsettled_seconds{#})`, "{{lane}}"}), 600, 2700),

		row("Work"),
		lamp(8, "Lanes that take no work, the worst replica of each", "Why, says /readyz.", "ready", "not ready", ask{`1 - min by (lane) (finx_connector_consumer_lane_ready{@})`, "{{lane}}"}),
		lamp(8, "Gate, the worst replica of each", "Closed while a server that the lane needs is away.", "open", "closed", ask{`max by (lane) (finx_connector_consumer_gate_closed{@})`, "{{lane}}"}),
		stat(8, "Hung handlers", "Handlers that did not return when their time was over.", "short", limits(1, 4), ask{`sum by (lane) (finx_connector_consumer_hung_handlers{@})`, "{{lane}}"}),
		graph(8, "Slots in use", "Deliveries being handled, as a share of all slots. At 100 % a lane takes no more.", "percentunit",
			ask{`sum by (lane) (finx_connector_consumer_in_flight{@}) / sum by (lane) (finx_connector_consumer_slots{@})`, "{{lane}}"}),
		graph(8, "Time a delivery takes, 95th percentile", "From receipt to the handler's return.", "s",
			ask{`histogram_quantile(0.95, sum by (lane, le) (rate(finx_connector_consumer_handling_seconds_bucket{@}[$__rate_interval])))`, "{{lane}}"}),
		graph(8, "Attempts a message takes, mean", "1 is a message that went well at once.", "short",
			ask{`sum by (lane) (rate(finx_connector_consumer_attempts_sum{@}[$__rate_interval])) / sum by (lane) (rate(finx_connector_consumer_attempts_count{@}[$__rate_interval]))`, "{{lane}}"}),

		row("What becomes of it"),
		graph(8, "Received a second", "Deliveries taken, again delivered ones included.", "ops",
			ask{`sum by (lane) (rate(finx_connector_consumer_received_total{@}[$__rate_interval]))`, "{{lane}}"},
			ask{`sum by (lane) (rate(finx_connector_consumer_redelivered_total{@}[$__rate_interval]))`, "{{lane}}, again"}),
		stacked(graph(8, "Settled a second, by outcome", "retry, wait_until and parked ones come back.", "ops",
			ask{`sum by (outcome) (rate(finx_connector_consumer_settled_total{@}[$__rate_interval]))`, "{{outcome}}"})),
		stacked(graph(8, "Dead letters, by lane and class", "How many were stored.", "short",
			ask{`sum by (lane, class) (increase(finx_connector_consumer_dead_letters_total{@}[$__rate_interval])) > 0`, "{{lane}} {{class}}"})),
		graph(8, "Parked and handed over a second", "Long waits go into the timers stream, and come back from there.", "ops",
			ask{`sum by (lane) (rate(finx_connector_consumer_parked_total{@}[$__rate_interval]))`, "{{lane}} parked"},
			ask{`sum by (lane) (rate(finx_connector_consumer_handed_over_total{@}[$__rate_interval]))`, "{{lane}} handed over"}),
		graph(8, "Answers and signs of life that failed, a second", "The message comes back after AckWait.", "ops",
			ask{`sum by (lane, answer) (rate(finx_connector_consumer_ack_failures_total{@}[$__rate_interval]))`, "{{lane}} {{answer}}"},
			ask{`sum by (lane) (rate(finx_connector_consumer_heartbeats_total{@, result="failed"}[$__rate_interval]))`, "{{lane}} heartbeat"}),
		graph(8, "How late timers are, 95th percentile", "From the time that a timer was set to until it is handled.", "s",
			ask{`histogram_quantile(0.95, sum by (timer, le) (rate(finx_connector_flow_timer_lag_seconds_bucket{@}[$__rate_interval])))`, "{{timer}}"}),
	)
}
