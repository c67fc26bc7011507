package finx_test

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/finx-connector/finx-connector/finx"
	"github.com/finx-connector/finx-connector/internal/fault"
)

func TestLinkAnswers(t *testing.T) {
	const location = "https://widget.test/?token=" + canaryJWT
	tests := map[string]struct {
		status int
		body   string
		flowID string
		ok     bool
	}{
		"created":        {201, `{"location":"` + location + `","id":"f-1"}`, "f-1", true},
		"200":            {200, `{"id":"f-1","location":"` + location + `","more":[1]}`, "f-1", true},
		"id a number":    {200, `{"id":12,"location":"` + location + `"}`, "12", true},
		"flow_id":        {200, `{"flow_id":"f-2","location":"` + location + `"}`, "f-2", true},
		"with a mark":    {200, "\ufeff" + `{"location":"` + location + `"}`, "", true},
		"no id":          {200, `{"location":"` + location + `"}`, "", true},
		"no location":    {201, `{"id":"f-1"}`, "", false},
		"not a link":     {201, `{"location":"javascript:alert(1)","id":"f"}`, "", false},
		"relative":       {201, `{"location":"/widget","id":"f"}`, "", false},
		"location false": {201, `{"location":false}`, "", false},
		"cut off":        {201, `{"location":"` + location, "", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, serve(t, answer(tc.status, tc.body)), nil)
			link, err := c.CreateAccess(t.Context(), finx.AccessRequest{RedirectURI: "https://a.test", UserID: "u"})
			if !tc.ok {
				if fault.Of(err) != fault.Retry || fault.IsAmbiguous(err) || !link.Location.IsZero() {
					t.Errorf("verdict %v of %v", fault.Of(err), err)
				}
				return
			}
			if err != nil || link.Location.Reveal() != location || link.FlowID != tc.flowID {
				t.Errorf("got %q, %v", link.FlowID, err)
			}
		})
	}
}

func TestAccountAnswers(t *testing.T) {
	full := `{"account_id":"A1.2", "access_id":"X3.4","balance":{"balance":13.370,"status":{"synced_at":"not this"}},` +
		`"icon":"https://i.test","status":{"synced_at":"2023-02-28T00:00:00.000Z","succeeded_at":null,"message":"m"}}`
	tests := map[string]struct {
		body string
		want []finx.Account
	}{
		"envelope":        {`{"accounts":[` + full + `]}`, []finx.Account{{ID: "A1.2", AccessID: "X3.4", SyncedAt: "2023-02-28T00:00:00.000Z", StatusMessage: "m", Raw: []byte(full)}}},
		"bare":            {`[{"account_id":"A"},{"account_id":"B"}]`, []finx.Account{{ID: "A", Raw: []byte(`{"account_id":"A"}`)}, {ID: "B", Raw: []byte(`{"account_id":"B"}`)}}},
		"siblings":        {`{"status":{"accounts":[1]},"accounts":[{"account_id":"A"}],"n":1}`, []finx.Account{{ID: "A", Raw: []byte(`{"account_id":"A"}`)}}},
		"number ids":      {`[{"account_id":12345.60,"access_id":7}]`, []finx.Account{{ID: "12345.60", AccessID: "7", Raw: []byte(`{"account_id":12345.60,"access_id":7}`)}}},
		"status null":     {`[{"account_id":"A","status":null}]`, []finx.Account{{ID: "A", Raw: []byte(`{"account_id":"A","status":null}`)}}},
		"status a string": {`[{"account_id":"A","status":"ok","icon":{"url":1}}]`, []finx.Account{{ID: "A", Raw: []byte(`{"account_id":"A","status":"ok","icon":{"url":1}}`)}}},
		"empty":           {`{"accounts":[]}`, nil},
		"null":            {"{\"accounts\":null}\n", nil},
		"with a mark":     {"\ufeff" + `[{"account_id":"A"}]`, []finx.Account{{ID: "A", Raw: []byte(`{"account_id":"A"}`)}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, serve(t, answer(200, tc.body)), nil)
			got, err := c.Accounts(t.Context(), secretOf(canaryAccess))
			if err != nil || fmt.Sprintf("%+q", got) != fmt.Sprintf("%+q", tc.want) {
				t.Errorf("got %+q, %v\nwant %+q", got, err, tc.want)
			}
		})
	}
}

// badLists are answers that neither accounts nor transactions may be taken from.
func badLists(member string) map[string]string {
	return map[string]string{
		"empty body":       ``,
		"other object":     `{"error":"x"}`,
		"null":             `null`,
		"string":           `"x"`,
		"member an object": `{"` + member + `":{}}`,
		"member twice":     `{"` + member + `":[],"` + member + `":[]}`,
		"item no object":   `{"` + member + `":[1]}`,
		"cut in an item":   `{"` + member + `":[{"account_id":"A"},{"account_id":"B`,
		"cut between":      `{"` + member + `":[{"account_id":"A"},`,
		"cut at the end":   `{"` + member + `":[{"account_id":"A"}]`,
		"bare and cut":     `[{"account_id":"A"}`,
		"more behind":      `{"` + member + `":[{"account_id":"A"}]} {}`,
		"garbage behind":   `[] x`,
		"not UTF-8":        "[{\"account_id\":\"A\xff\"}]",
		"a missing comma":  `[{"account_id":"A"}{"account_id":"B"}]`,
		"a bad number":     `[{"account_id":"A","x":01}]`,
	}
}

func TestListsAreAcceptedWholeOrNotAtAll(t *testing.T) {
	for name, body := range badLists("accounts") {
		c := newClient(t, serve(t, answer(200, body)), nil)
		if got, err := c.Accounts(t.Context(), secretOf(canaryAccess)); fault.Of(err) != fault.Retry || got != nil {
			t.Errorf("accounts, %s: %v, %v", name, got, err)
		}
	}
	for name, body := range badLists("transactions") {
		c := newClient(t, serve(t, answer(200, body)), nil)
		page, err := c.Transactions(t.Context(), secretOf(canaryAccess), finx.TransactionQuery{AccountID: "A"}, new(finx.PageBuffer))
		if fault.Of(err) != fault.Retry || page.Items != nil {
			t.Errorf("transactions, %s: %q, %v", name, page.Items, err)
		}
	}
	c := newClient(t, serve(t, answer(200, `[{"iban":"DE"}]`)), nil)
	if _, err := c.Accounts(t.Context(), secretOf(canaryAccess)); fault.Of(err) != fault.Retry {
		t.Errorf("an account without an id: %v", err)
	}
}

func TestTransactionsKeepTheirBytes(t *testing.T) {
	items := []string{
		`{"amount":23.990,"purpose":"\u00dcber\/weisung  €","x":1e2}`,
		`{ "amount" : -0.10 ,"a":{"transactions":[]}, "half":"\ud800", "twice":1, "twice":2 }`,
		`{}`,
	}
	list := strings.Join(items, " ,\n")
	for name, body := range map[string]string{
		"envelope":       `{"transactions":[` + list + `]}`,
		"siblings":       ` {"status":{"synced_at":1},"transactions": [` + list + ` ] ,"statistics":[]} ` + "\n",
		"bare":           `[` + list + `]`,
		"with a mark":    "\ufeff" + `{"transactions":[` + list + `]}`,
		"bare, mark":     "\ufeff" + `[` + list + `]`,
		"member escaped": `{"transa\u0063tions":[` + list + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, serve(t, answer(200, body)), nil)
			page, err := c.Transactions(t.Context(), secretOf(canaryAccess), finx.TransactionQuery{AccountID: "A"}, new(finx.PageBuffer))
			if err != nil || len(page.Items) != len(items) {
				t.Fatalf("%d items, %v", len(page.Items), err)
			}
			for i, want := range items {
				if string(page.Items[i]) != want {
					t.Errorf("item %d\n%s\nwant\n%s", i, page.Items[i], want)
				}
			}
		})
	}
}

func TestPageBufferIsReused(t *testing.T) {
	big := `{"transactions":[{"a":"` + strings.Repeat("x", 20_000) + `"},{"b":2}]}`
	small := `{"transactions":[{"c":3}]}`
	bodies := []string{big, small, big}
	n := 0
	var buf finx.PageBuffer
	var first *byte
	for _, body := range bodies {
		c := newClient(t, serve(t, answer(200, body)), nil)
		page, err := c.Transactions(t.Context(), secretOf(canaryAccess), finx.TransactionQuery{AccountID: "A"}, &buf)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && unsafe.SliceData(page.Items[0]) != first {
			t.Errorf("page %d was read into other memory", n)
		}
		first = unsafe.SliceData(page.Items[0])
		// Writing behind an item must not reach its neighbour.
		_ = append(page.Items[0], "overwritten"...)
		if last := string(page.Items[len(page.Items)-1]); !strings.HasSuffix(strings.TrimSuffix(body, "]}"), last) {
			t.Errorf("last item %.20q", last)
		}
		n++
	}
}

func TestBodyLimit(t *testing.T) {
	body := `{"transactions":[{"a":"` + strings.Repeat("x", 5000) + `"}]}`
	for name, header := range map[string][]string{"with length": nil, "chunked": {"Transfer-Encoding", "chunked"}} {
		for limit, ok := range map[int64]bool{int64(len(body)): true, int64(len(body)) - 1: false, 10: false} {
			c := newClient(t, serve(t, answer(200, body, header...)), func(cfg *finx.Config) { cfg.MaxBodyBytes = limit })
			_, err := c.Transactions(t.Context(), secretOf(canaryAccess), finx.TransactionQuery{AccountID: "A"}, new(finx.PageBuffer))
			if ok != (err == nil) {
				t.Errorf("%s, limit %d of %d: %v", name, limit, len(body), err)
			}
			if !ok && (fault.ClassOf(err) != fault.Oversize || !isTooLarge(err)) {
				t.Errorf("%s: %v has class %v", name, err, fault.ClassOf(err))
			}
		}
	}
}
