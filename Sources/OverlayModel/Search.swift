extension RandomAccessCollection {
    /// Index of the first element that satisfies a predicate; `endIndex` if none does. Costs O(log n).
    ///
    /// - Precondition: Elements that satisfy the predicate come after all those that do not.
    @inlinable
    public func partitioningIndex(where isAtOrAfter: (Element) -> Bool) -> Index {
        var start = startIndex
        var length = count
        while length > 0 {
            let half = length / 2
            let middle = index(start, offsetBy: half)
            if isAtOrAfter(self[middle]) {
                length = half
            } else {
                start = index(after: middle)
                length -= half + 1
            }
        }
        return start
    }

    /// Last element that does not satisfy a predicate; nil if all do. Costs O(log n).
    ///
    /// - Precondition: Elements that satisfy the predicate come after all those that do not.
    @inlinable
    public func lastElement(before isAtOrAfter: (Element) -> Bool) -> Element? {
        let end = partitioningIndex(where: isAtOrAfter)
        return end == startIndex ? nil : self[index(before: end)]
    }
}
