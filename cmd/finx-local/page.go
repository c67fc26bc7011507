package main

import (
	"context"
	"html/template"
	"net"
	"net/http"
	"time"

	"github.com/finx-connector/finx-connector/events"
)

// page is upstream's web application: it asks for a connection, sends the
// browser to the bank and takes the callback.
type page struct {
	up    *upstream
	seen  *observer
	views *template.Template
}

func newPage(up *upstream, watch *observer) *page {
	views := template.Must(template.New("front").Parse(frontView))
	template.Must(views.New("connection").Parse(connectionView))
	return &page{up: up, seen: watch, views: views}
}

// linkWait is how long the browser waits for its widget link.
const linkWait = 20 * time.Second

func (p *page) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.start)
	mux.HandleFunc("POST /connect", p.connect)
	mux.HandleFunc("GET /callback", p.callback)
	mux.HandleFunc("GET /connection/{id}", p.connection)
	return http.NewCrossOriginProtection().Handler(mux)
}

func (p *page) start(w http.ResponseWriter, _ *http.Request) { p.render(w, "front", nil) }

func (p *page) connect(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), linkWait)
	defer cancel()
	id, err := p.up.connect(ctx, r.FormValue("user_id"), map[string]any{"language": "en"})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	link, err := p.seen.await(ctx, "the widget link", func(e seen) bool { return e.CausationID == id })
	if err != nil || link.Type != events.TypeWidgetLinkCreated {
		http.Error(w, "no widget link came: look at the terminal and at `finx-connector dlq list`", http.StatusBadGateway)
		return
	}
	http.Redirect(w, r, link.location, http.StatusSeeOther)
}

func (p *page) callback(w http.ResponseWriter, r *http.Request) {
	if err := p.up.callback(r.Context(), "http://"+r.Host+r.URL.RequestURI()); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	id := p.seen.connectionOf(r.URL.Query().Get("state"))
	if id == "" {
		http.Error(w, "nobody is waiting for this state; the event went out all the same", http.StatusAccepted)
		return
	}
	// The code must not stay in the address bar and the history.
	http.Redirect(w, r, "/connection/"+id, http.StatusSeeOther)
}

func (p *page) connection(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	list := p.seen.of(id)
	finished := false
	for _, e := range list {
		switch e.Type {
		case events.TypeFetchCompleted, events.TypeConnectionFailed, events.TypeFetchFailed:
			finished = true
		}
	}
	p.render(w, "connection", map[string]any{"ID": id, "Events": list, "Finished": finished})
}

func (p *page) render(w http.ResponseWriter, view string, data any) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_ = p.views.ExecuteTemplate(w, view, data) // the browser is gone when this fails
}

// serve runs the page until ctx ends.
func (p *page) serve(ctx context.Context, ln net.Listener) {
	srv := &http.Server{Handler: p.handler(), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	go func() { _ = srv.Serve(ln) }()
}

const style = `<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:3rem auto;padding:0 1rem;color:#1b2430}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d8dee6;font-size:.9rem}
button{font:inherit;padding:.5rem 1.2rem;border:0;border-radius:.4rem;background:#0b5cad;color:#fff}
input{font:inherit;padding:.45rem;border:1px solid #9aa7b5;border-radius:.4rem;width:22rem}code{font-size:.85rem}</style>`

const frontView = `<!doctype html><html lang="en"><title>Upstream</title>` + style + `
<h1>Connect a bank</h1>
<p>This page plays the service upstream of the connector. The button publishes <code>user.connect.requested</code>, waits for
<code>widget.link.created</code> and sends you to the sandbox bank (Mockbank: <code>figo01</code> / <code>654321</code>, one-time password <code>123456</code>).</p>
<form method="post" action="/connect"><p><label>User <input name="user_id" value="newcomer@example.com" maxlength="200" required></label> <button>Connect</button></p></form>
</html>`

const connectionView = `<!doctype html><html lang="en"><title>Connection</title>` + style + `
{{if not .Finished}}<meta http-equiv="refresh" content="1">{{end}}
<h1>Connection</h1><p><code>{{.ID}}</code></p>
<table><tr><th>time</th><th>event</th><th></th></tr>
{{range .Events}}<tr><td>{{.At.Format "15:04:05.000"}}</td><td>{{.Type}}</td><td>{{.Facts}}</td></tr>{{end}}</table>
<p>{{if .Finished}}That is all. <a href="/">Once more</a>{{else}}Waiting for the bank's data…{{end}}</p></html>`
