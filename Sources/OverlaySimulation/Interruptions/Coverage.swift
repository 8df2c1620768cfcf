/// Places that a scenario has to visit, such as boundaries at which daemons die, and those that a run of it visited.
public struct Coverage: Sendable {
    /// Places that exist, as far as the run shows.
    public internal(set) var existing: Set<String> = []
    public internal(set) var visited: Set<String> = []

    public init() {}

    public mutating func formUnion(_ other: Coverage) {
        existing.formUnion(other.existing)
        visited.formUnion(other.visited)
    }

    /// Places that exist and were not visited.
    public var missing: Set<String> { existing.subtracting(visited) }
}
