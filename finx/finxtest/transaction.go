package finxtest

import (
	"strconv"
	"time"
)

// Layouts of the two timestamp shapes that finX has been seen to send.
const (
	millisLayout = "2006-01-02T15:04:05.000Z"
	microsLayout = "2006-01-02T15:04:05.000000+00:00"
)

// pendingBit keeps the dice of pending items apart from those of booked ones.
const pendingBit = 1 << 62

// appendTransaction appends the JSON object of booked item i.
func (a *account) appendTransaction(dst []byte, i int, cents bool) []byte {
	d := dice{state: a.key ^ mix(uint64(i))}
	t := generated{
		account: a, dice: &d, cents: cents, idPrefix: a.txPrefix, number: i + 1, booked: true,
		day: a.booked(i), created: a.created(i), modified: a.modified(i), size: a.shape.size(a.ordinal, i),
	}
	return t.append(dst)
}

// appendPending appends the JSON object of pending item j.
func (a *account) appendPending(dst []byte, j int, cents bool) []byte {
	d := dice{state: a.key ^ mix(pendingBit|uint64(j))}
	at := a.pendingDay.Add(18 * time.Hour)
	t := generated{
		account: a, dice: &d, cents: cents, idPrefix: a.pendingPrefix, number: j + 1,
		day: a.pendingDay, created: at, modified: at, size: a.shape.ObjectBytes,
	}
	return t.append(dst)
}

// generated is one transaction on its way into JSON.
type generated struct {
	account                *account
	dice                   *dice
	cents, booked          bool
	idPrefix               string
	number                 int
	day, created, modified time.Time
	size                   int
}

func (t *generated) append(dst []byte) []byte {
	start := len(dst)
	p := &parties[t.dice.below(len(parties))]
	o := begin(dst, objectStyles[t.dice.below(len(objectStyles))])
	if t.dice.below(2) == 0 { // members have no order
		t.identity(&o)
		t.amount(&o, p)
	} else {
		t.amount(&o, p)
		t.identity(&o)
	}
	t.counterparty(&o, p)
	t.dates(&o)
	t.references(&o, p)
	t.extras(&o, p)
	t.padding(&o, start)
	return o.end()
}

func (t *generated) identity(o *object) {
	o.name("transaction_id")
	o.b = append(o.b, '"')
	o.b = append(o.b, t.idPrefix...)
	o.b = strconv.AppendInt(o.b, int64(t.number), 10)
	o.b = append(o.b, '"')
	o.text("account_id", t.account.id)
}

// amount writes a plain amount, or one time in sixteen an odd one.
func (t *generated) amount(o *object, p *party) {
	o.name("amount")
	if t.dice.below(16) == 0 {
		o.b = t.appendOddAmount(o.b)
	} else {
		o.b = t.appendAmount(o.b, p.credit)
	}
	o.text("currency", t.account.currencySymbol)
}

func (t *generated) appendOddAmount(dst []byte) []byte {
	odd := oddAmounts[t.dice.below(len(oddAmounts))]
	if t.cents {
		return append(dst, odd.cents...)
	}
	return append(dst, odd.text...)
}

// appendAmount writes what a debit takes or, ten times as much, a credit brings.
func (t *generated) appendAmount(dst []byte, credit bool) []byte {
	value := uint64(t.dice.below(50_000) + 1)
	if credit {
		value *= 10
	} else {
		dst = append(dst, '-')
	}
	if t.cents {
		return strconv.AppendUint(dst, value, 10)
	}
	dst = strconv.AppendUint(dst, value/100, 10)
	dst = append(dst, '.')
	return appendDigits(dst, value%100, 2)
}

func (t *generated) counterparty(o *object, p *party) {
	number := t.dice.next() % 10_000_000_000
	o.text("name", p.name)
	o.digits("account_number", "", number, 10)
	o.text("bank_code", "30030880")
	o.digits("iban", "DE9330030880", number, 10)
	o.text("bic", "TUBDDEDD")
	if number%3 != 0 { // not every bank gives it
		o.text("bank_name", "Bank XYZ")
	}
}

func (t *generated) dates(o *object) {
	o.boolean("booked", t.booked)
	o.time("booked_at", t.day, millisLayout)
	o.time("settled_at", t.day, millisLayout)
	o.time("created_at", t.created, microsLayout)
	o.time("modified_at", t.modified, microsLayout)
}

func (o *object) time(name string, v time.Time, layout string) {
	o.name(name)
	o.b = append(o.b, '"')
	o.b = v.AppendFormat(o.b, layout)
	o.b = append(o.b, '"')
}

func (t *generated) references(o *object, p *party) {
	ref := t.dice.next()
	o.name("purpose")
	o.b = append(o.b, `"EREF+`...)
	o.b = appendDigits(o.b, ref, 12)
	if p.mandate {
		o.b = append(o.b, ` MREF+M-`...)
		o.b = appendDigits(o.b, ref>>20, 6)
	}
	o.b = append(o.b, ' ')
	o.b = append(o.b, p.purpose...)
	o.b = append(o.b, '"')
	o.digits("end_to_end_reference", "", ref, 12)
	if p.mandate {
		o.digits("mandate_reference", "M-", ref>>20, 6)
		o.text("creditor_id", "DE98ZZZ09999999999")
	}
	o.text("booking_key", p.key)
	o.text("booking_text", p.booking)
	o.digits("prima_nota_number", "", ref>>9, 6)
	if ref&1 == 0 { // a number in one SDK, a string in another
		o.raw("transaction_code", "117")
	} else {
		o.text("transaction_code", "117")
	}
}

func (t *generated) extras(o *object, p *party) {
	o.text("type", p.kind)
	o.raw("categories", p.category)
	o.raw("custom_category", "{}")
	switch t.dice.below(6) {
	case 0:
		o.raw("additional_info", `{"fee":0.5,"gross_amount":12.50}`)
	case 1:
		o.raw("additional_info", `{"gross_amount":"6,10"}`)
	case 2:
		o.raw("payment_partner", `{"id":"6702b891-b8e6-4892-8615-5440e39d3d0e","name":"Some Supermarket GmbH"}`)
		o.text("contract_id", "C12345.6")
	case 3:
		o.raw("x_unknown_field", `{"nested":[1,2.0,null,{"a":"<&>"}]}`)
	}
}

// padding brings the object to its least size, counted without what stands
// between objects.
func (t *generated) padding(o *object, start int) {
	const filler = "Verwendungszweck "
	need := t.size - (len(o.b) - start) - len(o.style.comma) - len(`"sepa_remittance_info"""`) - len(o.style.colon) - len(o.style.end)
	if need <= 0 {
		return
	}
	o.name("sepa_remittance_info")
	o.b = append(o.b, '"')
	for ; need >= len(filler); need -= len(filler) {
		o.b = append(o.b, filler...)
	}
	o.b = append(o.b, filler[:need]...)
	o.b = append(o.b, '"')
}
