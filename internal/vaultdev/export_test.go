package vaultdev

// CloseStdin does what the death of the parent does.
func (p *Process) CloseStdin() { _ = p.stdin.Close() }
