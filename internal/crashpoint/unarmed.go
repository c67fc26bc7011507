//go:build !crashpoints

package crashpoint

// Reached says that the program has come to the moment of that name.
func Reached(string) {}
