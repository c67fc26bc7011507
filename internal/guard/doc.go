// Package guard decides whether, when and how many at once calls may go to a
// server this program depends on.
package guard
