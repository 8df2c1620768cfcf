/// Names on a network of another driver, as far as this host's containers have them.
public struct OtherNames: Hashable, Sendable {
    /// Names in lower case.
    public var names: Set<String>
    /// False while containers are on the network whose names are not known yet.
    public var isComplete: Bool

    public init(names: some Sequence<String>, isComplete: Bool) {
        self.names = Set(names.lazy.map { $0.lowercased() })
        self.isComplete = isComplete
    }
}
