internal import CLinux
import Glibc

/// CLOCK_MONOTONIC (clock_gettime(2)).
public enum MonotonicClock {
    /// Nanoseconds since an arbitrary start. Never steps back.
    public static func now() -> Int64 {
        var value: Int64 = 0
        let result = overlay_monotonic(&value)
        precondition(result == 0, "CLOCK_MONOTONIC: \(SystemError.text(of: -result))")
        return value
    }
}

/// Calendar time of the host, used only for things that expire.
public enum UnixClock {
    /// Seconds since 1970.
    public static func now() -> UInt64 { UInt64(max(0, time(nil))) }
}

/// Random bytes from the kernel (getrandom(2)).
public func systemRandom(count: Int) -> [UInt8] {
    precondition(count >= 0, "negative count \(count)")
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
        if let base = buffer.baseAddress, count > 0 {
            let result = overlay_random(base, count)
            precondition(result == 0, "getrandom: \(SystemError.text(of: -result))")
        }
        filled = count
    }
}

/// 64 random bits from the kernel.
public func systemRandom64() -> UInt64 { systemRandom(count: 8).reduce(0) { $0 << 8 | UInt64($1) } }
