package register

// AtPoint lets a test see the points of each write.
func (f *File) AtPoint(see func(point string)) { f.at = see }
