package finxtest

// texts is the widget page in one language.
type texts struct {
	Lang, Title, Renew, Step, Of, Sandbox                     string
	Bank, Login, OTP, Accounts, Done, Gone, GoneText          string
	User, PIN, Save, Code, OTPText, Try, AlwaysFails          string
	Next, Approve, Cancel, Fail, Back, DoneText, AccountsText string
	Problems                                                  map[string]string
}

// textsOf returns the texts of a language; English stands in for those that the
// page does not speak.
func textsOf(language string) texts {
	switch language {
	case "de":
		return german()
	case "es":
		return spanish()
	}
	return english()
}

func english() texts {
	return texts{
		Lang: "en", Title: "Connect your bank", Renew: "Renew the access to your bank", Step: "Step", Of: "of",
		Sandbox: "Sandbox: no real bank, no real data",
		Bank:    "Choose your bank", Login: "Log in at", OTP: "Confirm it is you", Accounts: "Choose accounts", Done: "Finished",
		Gone: "This link does not work", GoneText: "It is unknown, has been used up or has expired. Ask for a new one.",
		User: "User name", PIN: "PIN", Save: "Store the credentials, so that data stays fresh by itself", Code: "One-time password",
		OTPText: "The bank has sent a one-time password to your phone.", Try: "To try it", AlwaysFails: "always refuses",
		Next: "Continue", Approve: "Approve", Cancel: "Cancel", Fail: "Let the bank fail", Back: "Back to the application",
		DoneText: "This link has been used. Nothing more is to be done here.", AccountsText: "These accounts and their transactions will be shared.",
		Problems: map[string]string{
			"bank": "Please choose a bank.", "login": "User name or PIN is wrong. After three attempts the bank refuses.",
			"otp": "The one-time password is wrong. After three attempts the bank refuses.", "accounts": "Please choose an account.",
		},
	}
}

func german() texts {
	return texts{
		Lang: "de", Title: "Bank verbinden", Renew: "Bankzugang erneuern", Step: "Schritt", Of: "von",
		Sandbox: "Sandbox: keine echte Bank, keine echten Daten",
		Bank:    "Bank wählen", Login: "Anmelden bei", OTP: "Freigabe bestätigen", Accounts: "Konten wählen", Done: "Fertig",
		Gone: "Dieser Link funktioniert nicht", GoneText: "Er ist unbekannt, verbraucht oder abgelaufen. Bitte einen neuen anfordern.",
		User: "Anmeldename", PIN: "PIN", Save: "Zugangsdaten speichern, damit die Daten von selbst aktuell bleiben", Code: "Einmalpasswort",
		OTPText: "Die Bank hat ein Einmalpasswort an Ihr Telefon geschickt.", Try: "Zum Ausprobieren", AlwaysFails: "lehnt immer ab",
		Next: "Weiter", Approve: "Zustimmen", Cancel: "Abbrechen", Fail: "Bank ablehnen lassen", Back: "Zurück zur Anwendung",
		DoneText: "Dieser Link wurde benutzt. Hier ist nichts mehr zu tun.", AccountsText: "Diese Konten und ihre Umsätze werden weitergegeben.",
		Problems: map[string]string{
			"bank": "Bitte eine Bank wählen.", "login": "Anmeldename oder PIN ist falsch. Nach drei Versuchen lehnt die Bank ab.",
			"otp": "Das Einmalpasswort ist falsch. Nach drei Versuchen lehnt die Bank ab.", "accounts": "Bitte ein Konto wählen.",
		},
	}
}

func spanish() texts {
	return texts{
		Lang: "es", Title: "Conectar el banco", Renew: "Renovar el acceso al banco", Step: "Paso", Of: "de",
		Sandbox: "Sandbox: ni banco real ni datos reales",
		Bank:    "Elegir banco", Login: "Entrar en", OTP: "Confirmar la identidad", Accounts: "Elegir cuentas", Done: "Terminado",
		Gone: "Este enlace no funciona", GoneText: "Es desconocido, ya se ha usado o ha caducado. Pida uno nuevo.",
		User: "Usuario", PIN: "PIN", Save: "Guardar las credenciales para que los datos se actualicen solos", Code: "Contraseña de un solo uso",
		OTPText: "El banco ha enviado una contraseña de un solo uso a su teléfono.", Try: "Para probar", AlwaysFails: "siempre rechaza",
		Next: "Continuar", Approve: "Aceptar", Cancel: "Cancelar", Fail: "Hacer que el banco rechace", Back: "Volver a la aplicación",
		DoneText: "Este enlace ya se ha usado. No queda nada por hacer aquí.", AccountsText: "Se compartirán estas cuentas y sus movimientos.",
		Problems: map[string]string{
			"bank": "Elija un banco.", "login": "El usuario o el PIN no es correcto. Tras tres intentos el banco rechaza.",
			"otp": "La contraseña no es correcta. Tras tres intentos el banco rechaza.", "accounts": "Elija una cuenta.",
		},
	}
}
