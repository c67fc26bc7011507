package finxtest

import (
	"strconv"
	"strings"
)

// bank is one of the widget's banks.
type bank struct {
	ID, Name, Code, BIC string
	User, PIN           string
	NeedsOTP            bool
	Fails               bool     // refuses after the login
	kinds               []string // account types, in turn
}

// otp is the one-time password of every sandbox bank that asks for one.
const otp = "123456"

// banks returns the vendor's two test banks and one that always fails.
func banks() []*bank { return bankList[:] }

// bankList is never written to.
var bankList = [...]*bank{
	{
		ID: "3b1c7a52-0f5e-4f0d-9b61-7d0c4f6a9001", Name: "Mockbank", Code: "90094815", BIC: "MOCKDEFFXXX", User: "figo01", PIN: "654321", NeedsOTP: true,
		kinds: []string{"Giro account", "Savings account", "Credit card"},
	},
	{
		ID: "3b1c7a52-0f5e-4f0d-9b61-7d0c4f6a9002", Name: "Demobank", Code: "90090042", BIC: "DEMOBANKXXX", User: "demo", PIN: "demo",
		kinds: []string{"Depot", "Giro account", "Loan account"},
	},
	{
		ID: "3b1c7a52-0f5e-4f0d-9b61-7d0c4f6a9003", Name: "Pechbank", Code: "90090013", BIC: "PECHDEFFXXX", User: "demo", PIN: "demo", Fails: true,
		kinds: []string{"Giro account"},
	},
}

// findBank finds a bank by name or id.
func findBank(nameOrID string) *bank {
	for _, b := range banks() {
		if strings.EqualFold(b.Name, nameOrID) || b.ID == nameOrID {
			return b
		}
	}
	return nil
}

// bankOfIBAN finds the bank of a German IBAN by its bank code.
func bankOfIBAN(iban string) *bank {
	iban = strings.ReplaceAll(iban, " ", "")
	for _, b := range banks() {
		if len(iban) == 22 && strings.HasPrefix(iban, "DE") && iban[4:12] == b.Code {
			return b
		}
	}
	return nil
}

// germanIBAN computes the check digits of ISO 13616.
func germanIBAN(bankCode, accountNumber string) string {
	bban := bankCode + strings.Repeat("0", max(0, 10-len(accountNumber))) + accountNumber
	rest := 0
	for _, c := range bban + "131400" { // D=13, E=14, check digits 00
		rest = (rest*10 + int(c-'0')) % 97
	}
	check := strconv.Itoa(98 - rest)
	if len(check) == 1 {
		check = "0" + check
	}
	return "DE" + check + bban
}
