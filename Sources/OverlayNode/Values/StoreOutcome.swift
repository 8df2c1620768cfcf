/// Result of a transaction.
public enum StoreOutcome: Hashable, Sendable {
    case stored
    /// What the store said, and what the user can do.
    case failed(String)
}
