package replay

// JudgeRead is judgeRead, for tests of the verdicts.
func JudgeRead(err error) error { return judgeRead(err) }

// JudgeWrite is judgeWrite, for tests of the verdicts.
func (r *Replayer) JudgeWrite(subject string, err error) error { return r.judgeWrite(subject, err) }
