package finxtest

import "strconv"

// objectStyle is how the text of one object is laid out. All are the same JSON.
type objectStyle struct{ colon, comma, open, end string }

var objectStyles = [...]objectStyle{
	{colon: ":", comma: ",", open: "{", end: "}"},
	{colon: ":", comma: ",", open: "{", end: "}"},
	{colon: ":", comma: ",", open: "{", end: "}"},
	{colon: ": ", comma: ", ", open: "{", end: "}"},
	{colon: " :  ", comma: ",\n   ", open: "{\n   ", end: "\n}"},
}

// object writes one JSON object member by member. Names and raw values come
// from the tables of this package and need no escaping.
type object struct {
	b     []byte
	style objectStyle
	some  bool
}

func begin(dst []byte, style objectStyle) object {
	return object{b: append(dst, style.open...), style: style}
}

func (o *object) end() []byte { return append(o.b, o.style.end...) }

func (o *object) name(name string) {
	if o.some {
		o.b = append(o.b, o.style.comma...)
	}
	o.some = true
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"')
	o.b = append(o.b, o.style.colon...)
}

// raw writes a member whose value is JSON already.
func (o *object) raw(name, value string) {
	o.name(name)
	o.b = append(o.b, value...)
}

// text writes a string member from pieces of JSON string text.
func (o *object) text(name string, pieces ...string) {
	o.name(name)
	o.b = append(o.b, '"')
	for _, p := range pieces {
		o.b = append(o.b, p...)
	}
	o.b = append(o.b, '"')
}

// digits writes a string member of n decimal digits.
func (o *object) digits(name, prefix string, v uint64, n int) {
	o.name(name)
	o.b = append(o.b, '"')
	o.b = append(o.b, prefix...)
	o.b = appendDigits(o.b, v, n)
	o.b = append(o.b, '"')
}

func appendDigits(b []byte, v uint64, n int) []byte {
	start := len(b)
	for range n {
		b = append(b, '0')
	}
	for i := len(b) - 1; i >= start; i-- {
		b[i], v = byte('0'+v%10), v/10
	}
	return b
}

// boolean writes a bool member.
func (o *object) boolean(name string, v bool) {
	o.name(name)
	o.b = strconv.AppendBool(o.b, v)
}
