package finxtest

// The words that generated objects are made of. Text that goes into JSON is kept
// as raw JSON, because the ways to write the same text are part of the point: a
// client that decodes and encodes again would change it.

// amountText is an amount as it stands in the JSON and its value in cents.
type amountText struct{ text, cents string }

// oddAmounts are valid JSON numbers that float64 or a re-encoder would change.
var oddAmounts = [...]amountText{
	{"1e2", "10000"},
	{"0.1000", "10"},
	{"12345678901234.56", "1234567890123456"},
	{"-5.10", "-510"},
	{"-0.00", "-0"},
	{"2.50E+1", "2500"},
	{"9007199254740993.01", "900719925474099301"},
	{"-123456789012345678901234.567890123456789", "-12345678901234567890123456.7890123456789"},
	{"100", "10000"},
	{"1E-2", "1"},
}

// party is a counterparty and what is usually booked with it.
type party struct {
	name, purpose string // raw JSON strings without quotes
	kind          string // finX transaction type
	booking, key  string
	category      string // raw JSON array
	credit        bool
	mandate       bool
}

var parties = [...]party{
	{name: `AMAZON EU S.A R.L.`, purpose: `SVWZ+302-1234567-7654321 AMZN Mktp DE`, kind: "Direct debit", booking: `Lastschrift`, key: "105", category: `[{"id":150,"parent_id":null,"name":"Lebenshaltung"},{"id":156,"parent_id":150,"name":"Online-Shopping"}]`, mandate: true},
	{name: `B\u00e4ckerei M\u00fcller \u0026 S\u00f6hne`, purpose: `SVWZ+Br\u00f6tchen \u20ac 4,20 \/ Kasse 2`, kind: "Electronic cash", booking: `Kartenzahlung`, key: "106", category: `[{"id":151,"parent_id":150,"name":"Lebensmittel"}]`},
	{name: `Café <b>\"Zum Löwen\"</b> & Co`, purpose: `SVWZ+<script>alert('x')</script> & \"Trinkgeld\"`, kind: "Electronic cash", booking: `Kartenzahlung`, key: "106", category: `[]`},
	{name: `finX GmbH`, purpose: `SVWZ+Lohn/Gehalt 11/26`, kind: "Salary or rent", booking: `Dauer-Euro-Überweisung`, key: "MSC", category: `[{"parent_id":null,"id":100,"name":"Einkommen"}]`, credit: true},
	{name: `東京ガス株式会社`, purpose: `SVWZ+ガス料金 2026年11月 \ud83d\ude00`, kind: "Transfer", booking: `Überweisung`, key: "166", category: `[{"id":170,"parent_id":null,"name":"Wohnen"}]`},
	{name: `Stadtwerke Würzburg AG`, purpose: `SVWZ+Abschlag Strom\tKd.-Nr. 0815\r\nZähler 4711`, kind: "Direct debit", booking: `Lastschrift`, key: "105", category: `[{"id":170,"parent_id":null,"name":"Wohnen"},{"id":171,"parent_id":170,"name":"Energie"}]`, mandate: true},
	{name: `Vermietung Ñandú S.L.`, purpose: `SVWZ+Alquiler piso 3º izq. \\ ref \"Ñ-7\"`, kind: "Standing order", booking: `Dauerauftrag`, key: "117", category: `[{"id":172,"parent_id":170,"name":"Miete"}]`},
	{name: `Geldautomat 🏧 Hauptbahnhof`, purpose: `SVWZ+Auszahlung 🏧 \u2603 \u0000 ende`, kind: "ATM", booking: `Bargeldauszahlung`, key: "083", category: `[]`},
	{name: ``, purpose: `Abschluss per 30.09. Zinsen 0,00 H`, kind: "Charges or interest", booking: `Abschluss`, key: "026", category: `[{"id":190,"parent_id":null,"name":"Bank"}]`},
	{name: `شركة الاتصالات`, purpose: `SVWZ+فاتورة الهاتف \u200f 12`, kind: "Unknown", booking: `Sonstige`, key: "999", category: `[]`},
}

var owners = [...]string{"Erika Mustermann", "John Doe", "Zoë Groß-Łukasz", "María del Carmen Ñuñez"}
